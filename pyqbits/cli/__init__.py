"""The command line: `pyqbits quantize | inspect | compare | info | bench | demo`; it begins in `app`."""
