"""What confines a process, whatever it runs: system calls, rights, libraries, folders; and a probe that tries to get
out.
"""
