"""Derivatives written as expressions, from the derivative rows of the built-ins.

`Adjoint` is reverse mode: the gradient of a sum of scalars. `Tangent` is forward mode: how a value
changes along a direction; applied to a gradient it gives products with the Hessian. Both raise
`NoDerivativeError` where an operation has no derivative row; automatic differentiation takes over
there.
"""

from ebmlang.compiler.derivatives.adjoint import Adjoint
from ebmlang.compiler.derivatives.algebra import NoDerivativeError
from ebmlang.compiler.derivatives.tangent import Tangent

__all__ = ["Adjoint", "NoDerivativeError", "Tangent"]
