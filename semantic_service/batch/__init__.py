"""Score dumps: each input row comes out with its verdict; order kept, constant memory, resumable after a kill."""
