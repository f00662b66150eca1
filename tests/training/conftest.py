import pytest


@pytest.fixture(scope="module")
def one_thread():
    """Give torch one thread: tiny matrices are slower on several."""
    torch = pytest.importorskip("torch", reason="fine-tuning needs the train extra: pip install -r requirements/train.txt")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
