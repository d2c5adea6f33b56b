"""``python -m perceptlib`` is the command ``perceptlib``."""

from perceptlib.cli.main import main

if __name__ == "__main__":
    main()
