"""What the leader's row says while one operator leads, and what another row means."""

from dataclasses import dataclass

from tenantry.errors import HistoryChanged, LeadershipLost


@dataclass(slots=True)
class Term:
    """What the leader's row says while this operator leads.

    Attributes:
        epoch: grows with every leader; a restore may take it back.
        token: random, of this term alone.
        marks: of the last write of this term; several where a commit was not answered.
    """

    epoch: int
    token: str
    marks: set[str]

    def require(self, epoch: int, token: str, mark: str) -> None:
        """Compare with the row.

        Raises:
            LeadershipLost: another operator leads.
            HistoryChanged: the row is of before this term, or lacks the last writes of it.
        """
        if epoch > self.epoch or (epoch == self.epoch and token != self.token):
            raise LeadershipLost(self.epoch, epoch)
        if epoch < self.epoch or mark not in self.marks:
            raise HistoryChanged(
                f"epoch {self.epoch}, last write {'/'.join(sorted(self.marks))}", f"{epoch}, {mark or None}"
            )
