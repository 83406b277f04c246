"""Hand-written CUDA C++, one concept per ``.cu`` file, and beside each the ``.py`` that launches it.

Every module in here is imported when the first CuPy array is met (`xnn.backends.registry.activate`): to add a kernel is
to add the two files. docs/kernels.md goes through it step by step.
"""
