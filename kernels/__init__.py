"""CUDA C++ sources that CuPy compiles; read with `importlib.resources.files`."""
