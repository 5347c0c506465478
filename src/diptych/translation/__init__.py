"""A trained pair of generators, applied to pictures, folders and videos."""
