"""The argument of a rule: one node on the walk from the logits back to the target layer."""

from collections.abc import Callable
from dataclasses import dataclass

from gradcam_cli.engines.gradient.nodes import Array, Node, Tensor, known_value
from gradcam_cli.engines.graph import shape_of
from gradcam_cli.errors import ModelError


class NoRuleError(ModelError):
    """The gradient of this network cannot be built; the message names the operation and the node.

    Attributes:
        operation: the type of the operation.
        node: the name of the node.
    """

    def __init__(self, operation: str, node: str, reason: str) -> None:
        """Make the message, and store the operation and the node."""
        super().__init__(f"There is no gradient for the operation {operation} ('{node}'): {reason}.")
        self.operation = operation
        self.node = node


def no_rule(node: Node, reason: str) -> NoRuleError:
    """Make the error for a node."""
    return NoRuleError(node.get_type_name(), node.get_friendly_name(), reason)


@dataclass(frozen=True, eq=False)
class Step:
    """One node y = f(x_1, ..., x_n), and the gradient of the score with respect to each of its outputs.

    Attributes:
        node: the node.
        gradients: one for each output; None if the score does not depend on that output.
        needed: for each input, whether it depends on the target layer's output.
    """

    node: Node
    gradients: tuple[Tensor | None, ...]
    needed: tuple[bool, ...]

    @property
    def type(self) -> str:
        """The type of the operation."""
        return str(self.node.get_type_name())

    @property
    def g(self) -> Tensor:
        """The gradient of the first output."""
        return self.gradients[0]

    @property
    def inputs(self) -> list[Tensor]:
        """All inputs."""
        return list(self.node.input_values())

    @property
    def x(self) -> Tensor:
        """The first input."""
        return self.node.input_value(0)

    @property
    def y(self) -> Tensor:
        """The first output."""
        return self.node.output(0)

    @property
    def x_shape(self) -> list[int]:
        """The shape of the first input."""
        return shape_of(self.x)

    @property
    def y_shape(self) -> list[int]:
        """The shape of the first output."""
        return shape_of(self.y)

    def attribute(self, name: str, default: object = None) -> object:
        """Give an attribute of the operation."""
        return self.node.get_attributes().get(name, default)

    def value(self, place: int) -> Array:
        """Give the value of an input that must be constant.

        Raises:
            NoRuleError: the input is computed from the image.
        """
        found = known_value(self.node.input_value(place))
        if found is None:
            raise self.refused(f"its input {place} is not constant")
        return found

    def numbers(self, place: int) -> list[int]:
        """Give the integers of an input that must be constant.

        Raises:
            NoRuleError: the input is computed from the image.
        """
        return [int(number) for number in self.value(place).ravel()]

    def refused(self, reason: str) -> NoRuleError:
        """Make the error with the reason why this node has no gradient."""
        return no_rule(self.node, reason)

    def only(self, gradient: Tensor) -> "Gradients":
        """Give the gradients of all inputs if only the first input needs one."""
        return [gradient, *[None] * (len(self.needed) - 1)]


# One gradient for each input; None if the input needs none.
Gradients = list[Tensor | None]
Rule = Callable[[Step], Gradients]
