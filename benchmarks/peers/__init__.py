"""Other libraries' products of quantized matrices beside pyqbits'; `python -m benchmarks.peers`.

Each module whose name is in `libraries.LIBRARIES` is a library; `libraries.py` says how to add one.
"""
