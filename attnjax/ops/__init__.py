"""Pure functions of arrays: no module, no mesh, no flag, no global."""
