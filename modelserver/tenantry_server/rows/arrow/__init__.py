"""Arrow's IPC stream, as far as a batch of texts and numbers needs it: read and written without a library.

The serving process loads no library of another language that reads what a client sent, and pyarrow takes
66 MiB in it. What is here reads two kinds of message and eight types of column with `struct` and NumPy,
which check each bound. Anything else is left to a worker that has pyarrow, errors in the bytes included.
"""
