"""The published loss of pictures, computed by limner, against the recorded one."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from reference import Reference, context_of  # noqa: E402

from limner.algorithms.sft import Piece, sft  # noqa: E402
from limner.models.mmada.model import MMaDA  # noqa: E402
from limner.models.mmada.parity import EXACT, close  # noqa: E402
from limner.process.base import Draw  # noqa: E402

DATA = Path(__file__).parent / "data" / "mmada"


def test_the_loss_of_pictures_over_the_whole_table_is_the_recorded_one():
    ref = Reference(DATA)
    ids, labels, kept = ref["loss/t2i_ids"], ref["loss/t2i_labels"], ref["loss/t2i_mask"].bool()
    begin = ids.shape[1] - ref.num_image - 1
    hidden = ids[:, begin:-1] == ref.specials["mask"]
    codes = torch.where(hidden, labels[:, begin:-1], ids[:, begin:-1]) - ref.config.text_vocabulary
    context = context_of(ids[:, :begin], kept[:, :begin], ids[:, -1:])
    piece = Piece("t2i", "image", context, codes, Draw(hidden, torch.ones(len(ids))))
    soft = MMaDA.around(ref.config, ref.model.tokenizer, ref.soft(), None)
    with torch.no_grad():
        loss, numbers = sft(soft, [piece], pictures="table")
    recorded = ref["loss/chat/t2i_lm_mmu_total"][:1]
    assert close("t2i", loss.view(1), recorded, EXACT).ok and numbers["t2i"] == float(loss)
