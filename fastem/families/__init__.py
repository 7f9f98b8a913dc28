"""What each model is; one family, one file. `base` teaches how to write one."""
