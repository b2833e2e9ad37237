"""Why a memory does not learn to recall: two halves of a start, one saddle."""
