"""Patches of one text: what fits is applied whole, what does not is refused with advice."""

import pytest

from kelpie.agent.patches import Unfit, apply_patch

TEXT = "a\nb\nc\nb\nd"


@pytest.mark.parametrize(
    ("text", "patch", "after"),
    [
        (TEXT, " a\n-b\n+B", "a\nB\nc\nb\nd"),
        (TEXT, "-b\n+B\n d", "a\nb\nc\nB\nd"),
        (TEXT, "@@ -1,2 +1,1 @@\n a\n-b\n@@\n c\n+C", "a\nc\nC\nb\nd"),
        (TEXT, "*** Begin Patch\n--- a\n+++ b\n-c\n*** End Patch", "a\nb\nb\nd"),
        (TEXT, "+e", TEXT + "\ne"),
        ("", "+e\n+f", "e\nf"),
        ("a\n\nb", " a\n\n-b\n+B", "a\n\nB"),
        ("-x", "--x\n++y", "+y"),
    ],
)
def test_patches_that_fit(text: str, patch: str, after: str) -> None:
    """Context finds the place; several places in their order; additions alone go to the end."""
    assert apply_patch(text, patch) == after


@pytest.mark.parametrize(
    ("patch", "sentence"),
    [
        ("-b\n+B", "stand in the text 2 times"),
        ("-x\n+B", "do not stand in the text"),
        (" a\n b", "changes nothing"),
        ("", "changes nothing"),
        ("a\n+b", "begins with neither a blank nor - nor +"),
        (" a\n-b\n@@\n-x", "part 2 of the patch"),
    ],
)
def test_patches_that_do_not_fit(patch: str, sentence: str) -> None:
    """Nothing is changed, and the model learns why."""
    with pytest.raises(Unfit, match=sentence):
        apply_patch(TEXT, patch)
