"""``python -m tlx`` is the command ``tlx``."""

from .cli.main import main

if __name__ == "__main__":
    main()
