"""``python -m lazybars``: the command, where its script is not on the path."""

from lazybars.cli import main

if __name__ == "__main__":
    main()
