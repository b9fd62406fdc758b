"""Where images come from: folders, lists, containers, codecs."""
