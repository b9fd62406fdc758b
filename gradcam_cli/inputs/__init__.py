"""Where pictures come from: folders, lists, containers, codecs."""
