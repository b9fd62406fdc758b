"""The measured comparison of explanation methods: figures for each image, collages, the sanity check, the summary."""
