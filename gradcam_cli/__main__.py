"""`python -m gradcam_cli` is the same program as `gradcam-cli`."""

from gradcam_cli.cli import main

if __name__ == "__main__":
    main()
