"""One file for each published system, and one that checks the lab. Results are frozen; drawing them is `figures`."""
