"""The images of one queue for one session: found, claimed, and with their cards.

A queue is asked for a few hundred ids at a time, however long it is, and each is handed out
once. A claim keeps an image from everybody else until it expires, and is renewed as long as
somebody works. What could not be claimed may come again with a later search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from curator.catalogue import claims
from curator.catalogue.claims import CLAIM_SECONDS
from curator.catalogue.labels import current
from curator.catalogue.queues import QueueFilter
from curator.review.cards import ImageCard, load_image_cards
from curator.review.image_source import ImageSource
from curator.workspace import Workspace

SEARCH = 240
"""Images that a queue is asked for at a time."""
ENOUGH = 24
"""With fewer new ones among them, more are asked for."""


class SessionClaims:
    """What one session has of `source`.

    `search` and `draw` may take long and are called by one thread at a time; for everything
    else the caller holds the session's lock.
    """

    def __init__(
        self,
        workspace: Workspace,
        source: ImageSource,
        *,
        actor: str,
        session: str,
        clock: Callable[[], float],
    ) -> None:
        self.source = source
        self.exhausted = False
        self._workspace = workspace
        self._actor = actor
        self._session = session
        self._clock = clock
        self._claimed_at = clock()
        self._waiting: dict[int, str] = {}
        self._drawn: set[int] = set()
        self._refused: set[int] = set()
        self._cards: dict[int, ImageCard] = {}

    def __contains__(self, image_id: int) -> bool:
        """Whether the card is there."""
        return image_id in self._cards

    def search(self) -> None:
        """Ask the queue, if nothing is waiting; at the end also for what others had before."""
        if self._waiting:
            return
        if self.exhausted:
            self._drawn -= self._refused
            self._refused.clear()
        hits = self._find(SEARCH)
        self._waiting = self._new(hits)
        if len(self._waiting) < ENOUGH and len(hits) >= SEARCH:
            # Most were drawn already and have stayed in the queue, skipped for instance.
            self._waiting = self._new(self._find(SEARCH + len(self._drawn)))
        self.exhausted = not self._waiting

    def draw(self, count: int) -> dict[int, str]:
        """The next images with why they are here; empty when the queue has nothing new."""
        self.search()
        drawn = dict(list(self._waiting.items())[:count])
        for image_id in drawn:
            del self._waiting[image_id]
        self._drawn.update(drawn)
        return drawn

    def claim_drawn(self, drawn: Mapping[int, str], *, keep: Iterable[int]) -> list[int]:
        """Claim and load what was drawn; those images that nobody else has and that are open."""
        image_ids = self.claim(list(drawn))
        self._refused.update(drawn.keys() - set(image_ids))
        self.load(image_ids, why=drawn, keep=keep)
        return [
            image_id
            for image_id in image_ids
            if image_id in self and not self.source.is_settled(self.card(image_id))
        ]

    def claim(self, image_ids: Sequence[int]) -> list[int]:
        """Those of the images that nobody else has; now this session has them."""
        return claims.claim(
            self._workspace.catalogue,
            image_ids,
            queue=self.source.queue,
            actor=self._actor,
            session=self._session,
        )

    def renew(self, image_ids: Sequence[int]) -> None:
        """Claim again what is still to come, now and then; after a pause others may have it."""
        # A renewal is one more write, so it is not made at every key.
        if self._clock() - self._claimed_at > CLAIM_SECONDS / 4:
            self._claimed_at = self._clock()
            self.claim(image_ids)

    def release(self) -> None:
        """Let others have everything."""
        claims.release(self._workspace.catalogue, session=self._session)

    def card(self, image_id: int) -> ImageCard:
        """The card as it was loaded last."""
        return self._cards[image_id]

    def load(
        self, image_ids: Sequence[int], *, why: Mapping[int, str], keep: Iterable[int]
    ) -> None:
        """Load cards; of those loaded before, only `keep` stay."""
        loaded = load_image_cards(self._workspace.catalogue, image_ids, why=why)
        coming = {image_id: self._cards[image_id] for image_id in keep if image_id in self._cards}
        self._cards = coming | loaded

    def fresh(self, image_id: int, *, keep: Iterable[int]) -> ImageCard:
        """The card of an image, loaded again if somebody labelled it meanwhile."""
        card = self._cards.get(image_id)
        label = current(self._workspace.catalogue, [image_id]).get(image_id)
        if card is None or label is None or label.event_id != card.event_id:
            self.load([image_id], why={} if card is None else {image_id: card.why}, keep=keep)
        return self._cards[image_id]

    def _find(self, size: int) -> Mapping[int, str]:
        leave_out = QueueFilter(session=self._session, queue=self.source.queue)
        return self.source.find(size, leave_out)

    def _new(self, hits: Mapping[int, str]) -> dict[int, str]:
        return {image_id: why for image_id, why in hits.items() if image_id not in self._drawn}
