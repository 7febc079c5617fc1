"""`python -m mri_zoo`, the same as `mri-zoo`."""

from mri_zoo.interruption import one_line_for_signals


def main():
    """Entry point, which listens to signals before it imports anything that takes time."""
    with one_line_for_signals("mri-zoo"):
        from mri_zoo.cli import main

        main()


if __name__ == "__main__":
    main()
