"""Input images: folders, lists, containers and codecs."""
