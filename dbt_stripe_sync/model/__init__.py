"""The vocabulary: the frozen values that the parts of the project exchange. It imports nothing else of the package."""
