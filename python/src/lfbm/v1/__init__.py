"""Messages of `proto/lfbm/v1`, generated when the package is built."""
