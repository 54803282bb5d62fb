"""The steps of ``fused.cpp`` and ``winograd.cpp``: built once on every machine by its C++ compiler, then called on a
CPU's tensors.

They round otherwise than torch's operations do, so it is the spec that says whether they are used
(``engine.kernels: compiled``), and a machine that cannot build them is told so. Among themselves they agree: their sums
have a written order, whatever compiler, processor and number of threads. (But for values under 2⁻¹²⁶ in bfloat16, which
processors with an instruction for it round to 0.)
"""
