"""The command `perceptlib`: one module a command."""
