"""JupyterLab in a real browser: `make test-browser`. These tests take minutes; `make test` leaves them alone."""
