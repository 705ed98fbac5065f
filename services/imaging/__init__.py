"""Pure algorithms that several services share; nothing here reads a file, a clock or a setting."""
