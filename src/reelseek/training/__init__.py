"""The training loop; knows nothing about methods, data sets or losses."""
