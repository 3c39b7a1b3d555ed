"""One file per command: read artefacts, call the library, write artefacts and records."""
