"""The evaluation of explanation methods: measures for each image, collages, the sanity check, and the summary."""
