"""The compiled part: one cffi extension, tagged for the stable ABI where cffi builds for it."""

import sysconfig

from setuptools import setup

# Free-threaded interpreters have no stable ABI yet.
stable_abi = {} if sysconfig.get_config_var("Py_GIL_DISABLED") else {"bdist_wheel": {"py_limited_api": "cp310"}}

setup(cffi_modules=["pyqbits/_build_ffi.py:ffi"], options=stable_abi)
