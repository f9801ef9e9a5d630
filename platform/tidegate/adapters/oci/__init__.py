"""Images of containers: what is in them, as folders, and the programs that build them. Nothing runs inside while one is built,
unless packages are to be fetched there."""
