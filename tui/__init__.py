"""The triage screen. Nothing of it is here yet: this release works from the command line."""
