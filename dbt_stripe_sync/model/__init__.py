"""The vocabulary: what the parts of the project say to each other, as frozen values. It imports nothing of ours."""
