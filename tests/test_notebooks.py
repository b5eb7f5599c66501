"""The notebooks run from top to bottom, on a small setting."""

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.py"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import jupytext
    from nbclient import NotebookClient

    monkeypatch.delenv("MPLBACKEND", raising=False)  # a kernel chooses its own
    monkeypatch.setenv("LATENTPHYS_SUBJECTS", "6")
    monkeypatch.setenv("LATENTPHYS_MINUTES", "0.05")
    notebook = jupytext.read(path)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    drawn = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(drawn) == sum("lp.plot_" in cell.source for cell in notebook.cells)
