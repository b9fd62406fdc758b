"""Methods that the user defined: a function from activations and gradients to maps."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import MethodError, UsageError, first_line
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.arithmetic import Floats
from gradcam_cli.methods.method import GradientFunction, Method, gradient_method


def custom_method(function: GradientFunction, name: str | None = None) -> Method:
    """Make a method from a function of activations and gradients.

    The function is called once for each target class of a batch, as `function(A, g)`, and gives the maps M. Here A
    (N, h, w, K) float32 is the output of the target layer for N images, and g = dS/dA, of the same shape, the gradient
    of the class's score. Both are read-only. M (N, h, w) are real numbers in any unit; the map of an image must depend
    only on that image. The resulting map is `relu(M)`, as float32.

    An image for which M, A or g is not finite has no explanation. The function receives 0 in place of its A and g.

    Args:
        function: computes the maps. A function at the top level of a module can be sent to other processes.
        name: the name of the method in records; by default the function's module and qualified name.

    Raises:
        UsageError: the name is that of a method of this package.
    """
    shown = name or _qualified_name(function)
    if shown in METHODS:
        raise UsageError(f"'{shown}' is a method of this package. Give your method another `name`.")
    line = f"relu of the maps of {_qualified_name(function)}"
    return gradient_method(shown, line, _Checked(shown, function))


@dataclass(frozen=True)
class _Checked:
    """Calls the user's function, and checks that it returns maps."""

    name: str
    function: GradientFunction

    def __call__(self, activations: Floats, gradients: Floats) -> Floats:
        try:
            found = np.asarray(self.function(_read_only(activations), _read_only(gradients)))
        except MemoryError:
            # The run continues with smaller batches.
            raise
        except Exception as error:
            raise MethodError(f"The method {self.name} failed: {type(error).__name__}: {first_line(error)}") from error
        expected = activations.shape[:3]
        if found.shape != expected:
            raise MethodError(
                f"The method {self.name} returned an array of shape {found.shape}. It must return maps (N, h, w) of "
                f"shape {expected}."
            )
        if found.dtype.kind not in "fiub":
            raise MethodError(
                f"The method {self.name} returned an array of {found.dtype}. It must return real numbers."
            )
        # A map that does not fit into float32 becomes infinite, and is reported as not finite.
        return np.maximum(found.astype(np.float32), 0)


def _read_only(array: Floats) -> NDArray[Any]:
    """Give a read-only view: the engine and other targets use the same array."""
    view = array.view()
    view.flags.writeable = False
    return view


def _qualified_name(function: GradientFunction) -> str:
    """Give the module and qualified name of a function, or of the class of another callable."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"
