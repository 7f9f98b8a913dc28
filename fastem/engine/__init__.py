"""EM as pure functions of parameters; names no family."""
