"""Multi-head attention on two independent relations: what each head does."""
