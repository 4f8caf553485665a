"""The command line: `pyqbits quantize | inspect | compare | info | bench | demo`; `app` is where it begins."""
