"""Rankings: the data, the figures and the callback that logs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import quiet
from sklearn.metrics import average_precision_score, ndcg_score
from torch import Tensor
from torchmetrics.functional import retrieval

from gan_lightning.batches import Ranked
from gan_lightning.callbacks import RankingScores
from gan_lightning.data import Digits, ImplicitFeedback, RankingPairs
from gan_lightning.metrics import ranking_figures
from gan_lightning.models import GAN, IRGAN


def everything(data: ImplicitFeedback | RankingPairs, split: str) -> Ranked:
    examples = data.reference(split)
    return examples.__getitems__(list(range(len(examples))))


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


# Figures


def queries(n: int = 40, d: int = 60, grades: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(grades)
    scores = torch.randn(n, d, generator=generator)
    relevant = torch.randint(grades, (n, d), generator=generator) * (torch.rand(n, d, generator=generator) < 0.2)
    return scores, relevant.byte(), torch.rand(n, d, generator=generator) < 0.7


def test_figures_equal_torchmetrics_and_sklearn():
    scores, relevant, candidate = queries()
    relevant[3] = 0  # a query that must not count
    rows = [row for row in range(len(scores)) if (relevant[row] * candidate[row]).any()]
    assert 3 not in rows
    found = ranking_figures(scores, relevant, candidate)
    for at, row in enumerate(rows):
        # Sigmoids keep the order: torchmetrics takes a score that is not positive for a document not found.
        score, target = scores[row][candidate[row]].sigmoid(), relevant[row][candidate[row]].bool()
        for k in (3, 5, 10):
            assert found[f"P@{k}"][at] == pytest.approx(float(retrieval.retrieval_precision(score, target, top_k=k)))
            expected = float(retrieval.retrieval_normalized_dcg(score, target, top_k=k))
            assert found[f"NDCG@{k}"][at] == pytest.approx(expected, abs=1e-6)
        assert found["MAP"][at] == pytest.approx(average_precision_score(target, score))
        assert found["MRR"][at] == pytest.approx(float(retrieval.retrieval_reciprocal_rank(score, target)))
    assert all(len(values) == len(rows) for values in found.values())


def test_grades_gain_exponentially():
    scores, relevant, _ = queries(grades=4)
    found = ranking_figures(scores, relevant)["NDCG@5"]
    some = relevant.any(1)
    gains = 2.0 ** relevant[some].double() - 1
    assert float(found.mean()) == pytest.approx(ndcg_score(gains, scores[some], k=5))


def test_a_short_list_has_fewer_documents_than_the_cutoff():
    found = ranking_figures(torch.tensor([[2.0, 1.0]]), torch.tensor([[0, 1]]))
    assert found["P@3"].item() == pytest.approx(1 / 3) and found["MRR"].item() == 0.5
    assert found["NDCG@10"].item() == pytest.approx(1 / np.log2(3))


# Choices


def test_the_files_of_movielens_are_read(tmp_path):
    """Tabs, `::`, and commas with a header: the same choices, ratings below the threshold left out."""
    lines = [("ann", "x", 5, 30), ("ann", "y", 4, 10), ("bob", "x", 3, 5), ("bob", "z", 4.5, 7), ("ann", "z", 5, 20)]
    forms = {"u.data": "\t", "ratings.dat": "::", "ratings.csv": ","}
    for name, mark in forms.items():
        text = "".join(mark.join(map(str, line)) + "\n" for line in lines)
        head = "userId,movieId,rating,timestamp\n" if mark == "," else ""
        data = ImplicitFeedback(written(tmp_path / name, head + text), holdout=0.4)
        assert data.users == ["ann", "bob"] and data.items == ["x", "y", "z"] and data.truth is None
        train, val = everything(data, "train"), everything(data, "val")
        assert train.relevant.tolist() == [[0, 1, 1], [0, 0, 1]] and train.candidate.all()
        # Ann's latest choice, x, is held out, her others are no candidates any more; Bob's only one is for training.
        assert val.query.tolist() == [0] and val.relevant.tolist() == [[1, 0, 0]]
        assert val.candidate.tolist() == [[True, False, False]]


def test_files_of_the_world_are_read(tmp_path):
    """A byte-order mark, quotes in a table of tabs, and names in Latin-1, of which no two become one."""
    marked = ImplicitFeedback(written(tmp_path / "m.csv", "\ufeff1,x,5\n1,y,5\n"))
    assert marked.users == ["1"]
    quoted = ImplicitFeedback(written(tmp_path / "q.tsv", 'u\t"a\t5\nu\tb\t5\n'))
    assert quoted.items == ['"a', "b"]
    (tmp_path / "l.csv").write_bytes("café,x,5\ncafè,x,5\n".encode("latin-1"))
    assert len(ImplicitFeedback(str(tmp_path / "l.csv")).users) == 2
    (tmp_path / "l.txt").write_text("\ufeff1 qid:1 1:1\n0 qid:1 1:2\n", encoding="utf-8")
    assert RankingPairs(str(tmp_path / "l.txt")).num_features == 1
    assert ImplicitFeedback(written(tmp_path / "s.csv", "a,x,5\na,y,5\n"), seed=-1).users == ["a"]


def test_a_later_line_for_a_pair_replaces_the_earlier(tmp_path):
    text = "a,x,5,1\na,y,5,2\na,x,1,3\na,z,2,4\na,z,5,9\n"
    data = ImplicitFeedback(written(tmp_path / "r.csv", text), holdout=0.0)
    assert data.items == ["y", "z"] and everything(data, "train").relevant.tolist() == [[1, 1]]
    assert len(data.reference("val")) == 0


def test_without_times_the_seed_decides_what_is_held_out(tmp_path):
    text = "".join(f"{user},{item},5\n" for user in range(8) for item in range(10))
    path = written(tmp_path / "r.csv", text)
    held = [everything(ImplicitFeedback(path, seed=seed), "val").relevant for seed in (0, 0, 1)]
    assert (held[0] == held[1]).all() and (held[0] != held[2]).any()
    assert held[0].sum(1).tolist() == [2] * 8 and len(set(map(tuple, held[0].tolist()))) > 3


def test_training_and_held_out_choices_never_meet():
    data = ImplicitFeedback()
    train, val = everything(data, "train"), everything(data, "val")
    assert (train.query == torch.arange(500)).all() and train.relevant.sum(1).min() >= 1
    assert not (train.relevant[val.query] * val.relevant).any()
    assert (val.candidate == (train.relevant[val.query] == 0)).all()
    share = val.relevant.sum() / (val.relevant.sum() + train.relevant.sum())
    assert 0.17 < share <= 0.2
    assert len(data.users) == 500 and len(data.items) == 1000 and data.truth.shape == (500, 1000)


def test_the_held_out_choices_halve_into_validation_and_test():
    """Every choice is in one part; those of the parts before are no candidates."""
    parts = {name: everything(ImplicitFeedback(held_out=name), "val") for name in ("all", "validation", "test")}
    train = everything(ImplicitFeedback(held_out="test"), "train")
    relevant = {name: part.relevant > 0 for name, part in parts.items()}
    chosen, known = relevant["validation"], train.relevant > 0
    assert torch.equal(chosen | relevant["test"], relevant["all"]) and not (chosen & relevant["test"]).any()
    assert torch.equal(parts["validation"].candidate, ~known)
    assert torch.equal(parts["test"].candidate, ~(known | chosen))
    counts = relevant["all"].sum(1)
    assert torch.equal(chosen.sum(1), counts // 2) and counts.max() > 2
    with pytest.raises(ValueError, match='held_out is "all", "validation" or "test", not \'half\''):
        ImplicitFeedback(held_out="half")


def test_made_up_users_are_as_many_as_asked_for():
    data = ImplicitFeedback(num_users=30, num_items=20, fewest=5, most=9, holdout=0)
    counts = (everything(data, "train").relevant > 0).sum(1)
    assert data.truth.shape == (30, 20) and len(data.users) == 30 and len(data.items) == 20
    assert counts.min() == 5 and counts.max() == 9
    with pytest.raises(ValueError, match="500 users choose 10 to 50 of 20 items: set num_users, fewest, most"):
        ImplicitFeedback(num_items=20)


def test_made_up_choices_follow_the_truth():
    """In proportion to exp(score): of the first choices of many users with the same scores, a known share."""
    data = ImplicitFeedback(seed=3)
    train = everything(data, "train")
    chosen = train.relevant.bool()
    assert data.truth[chosen].mean() > data.truth[~chosen].mean() + 2
    # Of pairs of items of which a user chose one, the logistic function of the difference says which, about: draws
    # without replacement flatten it only for those who choose much.
    val = everything(data, "val")
    held = ranking_figures(data.truth[val.query], val.relevant, val.candidate)["NDCG@10"].mean()
    popular = train.relevant.float().sum(0).expand(len(val.query), -1)
    assert held > 2 * ranking_figures(popular, val.relevant, val.candidate)["NDCG@10"].mean() > 0


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("a,x,5\nb,y\n", "line 2: expected user, item, rating and perhaps time: 2 fields, not 3"),
        ("a,x,5\n\nb,y,good\n", "line 3.*the rating 'good' is not a finite number"),
        ("a,x,5\nb,y,nan\n", "line 2.*'nan' is not a finite number"),
        ("a x 5\n", "line 1: no tab, comma, semicolon or ::"),
        ("a,x,1\n", "no rating of at least 4: lower --data.threshold"),
        ('a,x,5\nb,"' + "y" * 200_000, "line 2: quotes or fields that are no table's: field larger"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, wrong):
    with pytest.raises(ValueError, match=wrong) as caught:
        _ = ImplicitFeedback(written(tmp_path / "r.csv", text)).users
    assert "\n" not in str(caught.value)


def test_what_the_data_refuse():
    with pytest.raises(ValueError, match="holdout must lie in"):
        ImplicitFeedback(holdout=1.0)
    with pytest.raises(ValueError, match="val_path needs a path"):
        RankingPairs(val_path="x")
    with pytest.raises(FileNotFoundError):
        _ = ImplicitFeedback("nowhere.csv").users


# Documents

LETOR = """2 qid:10 1:0.5 3:1.5 #docid = A
-1 qid:10 2:0.25
0 qid:7 1:1
0 qid:7 1:2 2:2
1 qid:10 1:0.75 2:0 3:0.1

1 qid:8 3:4
0 qid:8
"""


def test_letor_files_are_read(tmp_path):
    path = written(tmp_path / "train.txt", LETOR)
    data = RankingPairs(path, written(tmp_path / "val.txt", "0 qid:7 2:1\n0 qid:7 1:1\n"))
    assert data.num_features == 3
    train = everything(data, "train")  # without query 7, in which nothing is relevant
    assert train.relevant.tolist() == [[2, 0, 1], [1, 0, 0]]
    assert train.candidate.tolist() == [[True, True, True], [True, True, False]]
    torch.testing.assert_close(train.query[0], torch.tensor([[0.5, 0, 1.5], [0, 0.25, 0], [0.75, 0, 0.1]]))
    assert not train.query[1, 1:].any()
    assert everything(data, "val").query.shape == (1, 2, 3)
    assert len(RankingPairs(path).reference("val")) == 0


def test_made_up_queries():
    data = RankingPairs()
    train, val = everything(data, "train"), everything(data, "val")
    assert len(val.query) == 100 and train.query.shape[2] == data.num_features == 8
    assert train.candidate.sum(1).min() >= 10 and train.candidate.sum(1).max() <= 30
    assert not train.relevant[~train.candidate].any() and not train.query[~train.candidate].any()
    assert (train.relevant[train.candidate] > 0).float().mean() == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("1 qid:1 1:1\n1 id:1 1:1\n", "line 2: no qid"),
        ("1 qid:1 0:1\n", "line 1"),
        ("x qid:1 1:1\n", "line 1"),
        ("1 qid:1 1:inf\n", "line 1"),
        ("1 qid:1 1:1e39\n", "line 1"),  # infinite in single precision
        ("1 qid:1 100000000000:1\n", "line 1: feature 100000000000: .* up to 100,000"),
        ("1\n", "line 1"),
        ("# nothing\n", "is empty"),
        ("1 qid:1\n", "no document has a feature"),
    ],
)
def test_a_bad_document_is_named(tmp_path, text, wrong):
    with pytest.raises(ValueError, match=wrong):
        _ = RankingPairs(written(tmp_path / "t.txt", text)).num_features


def test_held_out_documents_have_the_features_of_training(tmp_path):
    data = RankingPairs(written(tmp_path / "t.txt", LETOR), written(tmp_path / "v.txt", "1 qid:1 4:1\n"))
    with pytest.raises(ValueError, match="line 1: feature 4, but training documents have 3"):
        data.reference("val")


# The callback


class Memory(IRGAN):
    """Ranks highest what was chosen in training, and of the rest what its numbers say."""

    def rank(self, batch: Ranked) -> Tensor:
        rest = torch.arange(self.seen.shape[1], 0, -1, device=self.device)
        return self.seen[batch.query] * 1e6 + rest


def scored(model: IRGAN, data: ImplicitFeedback | RankingPairs, **options: int) -> RankingScores:
    scores = RankingScores(**options)
    quiet(max_steps=1, callbacks=[scores]).fit(model, data)
    return scores


def test_items_chosen_in_training_are_not_ranked(tmp_path):
    """User 0 chose 0 to 7 in training and then 8, 9: a memory of training that is not excluded would score 0."""
    text = "".join(f"{user},{item},5,{item}\n" for user in (0, 1) for item in range(10)) + "2,5,5,1\n"
    data = ImplicitFeedback(written(tmp_path / "r.csv", text), batch_size=3)
    found = scored(Memory(data.users, data.items, None, pretraining=1, samples=2), data)
    assert data.items == [str(n) for n in range(10)]
    assert found.scores["P@3"] == pytest.approx(2 / 3) and found.scores["NDCG@10"] == found.scores["MAP"] == 1
    assert found.card["n"] == 2  # the third user has nothing held out


def test_what_is_logged_on_choices():
    data = ImplicitFeedback()
    found = scored(IRGAN(data.users, data.items, None, pretraining=1), data, batch_size=128)
    val, train = everything(data, "val"), everything(data, "train")
    popular = torch.stack([train.relevant.long().sum(0)] * len(val.query))
    for name, score in {"/truth": data.truth[val.query], "/popularity": popular}.items():
        expected = ranking_figures(score, val.relevant, val.candidate)["NDCG@10"].mean()
        assert found.scores[f"NDCG@10{name}"] == pytest.approx(float(expected))
    figures = {"P@3", "P@5", "P@10", "NDCG@3", "NDCG@5", "NDCG@10", "MAP", "MRR"}
    assert found.scores.keys() == figures | {"NDCG@10/popularity", "NDCG@10/truth"}
    assert found.card["split"] == "val" and found.card["n"] == len(val.query)


def test_documents_are_scored_by_grade():
    data = RankingPairs(batch_size=16)
    model = IRGAN(None, None, data.num_features, pretraining=1)
    found, val = scored(model, data), everything(data, "val")
    expected = ranking_figures(model.rank(val), val.relevant, val.candidate)
    assert found.scores == pytest.approx({name: float(value.mean()) for name, value in expected.items()})


def test_what_the_callback_refuses(tmp_path):
    data = ImplicitFeedback(holdout=0.0)
    with pytest.raises(ValueError, match="holds out nothing that is relevant"):
        scored(IRGAN(data.users, data.items, None), data)
    with pytest.raises(ValueError, match="GAN is none"):
        scored(GAN((1, 8, 8)), Digits(size=8))
    with pytest.raises(ValueError, match="needs data with queries"):
        scored(Memory(["a"], ["b"], None), Digits(size=8))
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        RankingScores(batch_size=0)
