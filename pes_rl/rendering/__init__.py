"""Showing a policy: record an episode, and write it as a video, a picture or a page."""
