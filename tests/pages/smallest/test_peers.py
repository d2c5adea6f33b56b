from __future__ import annotations

import pandas as pd

from perceptlib.pages.smallest import peers as page


def test_peers_and_starts_show_as_tables() -> None:
    summary = {"peer": "alma", "distance": 1e-3, "distance_low": 1e-4, "distance_high": 1e-2, "gradients": 5000.0}
    summary |= {"survives_8bit": 1.0, "num_images": 5, "num_not_fooled": 2}
    assert repr(page.peer_table(pd.DataFrame([summary]))).split()[-4:] == ["5000", "100%", "5", "2"]
    starts = pd.DataFrame({"start": ["learning rate 0.3"], "distance": [0.057], "num_best": [0]})
    assert repr(page.start_table(starts)).splitlines()[1].split()[-2:] == ["5.70e-02", "0"]
