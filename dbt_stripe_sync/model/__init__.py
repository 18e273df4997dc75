"""The vocabulary: frozen values that the parts of the project exchange. It imports nothing else from the package."""
