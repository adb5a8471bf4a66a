"""Text to token ids and back, with the chat template and the stop tokens that go with it."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer as Vocabulary

from engine.errors import ModelFileError, RequestError
from engine.protocol import ChatMessage
from engine.special_text import SpecialText
from engine.template import ChatTemplate

if TYPE_CHECKING:
    from llguidance import LLTokenizer

__all__ = ["Tokenizer", "from_folder", "read_json"]


class Tokenizer:
    """A model's tokenizer.

    Args:
        vocabulary: the `tokenizers` object.
        template: the chat template's text; None where the model has none.
        special: special tokens by the names templates use (bos_token, eos_token).
        stop_ids: tokens that end an answer.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        template: str | None,
        special: dict[str, str],
        stop_ids: frozenset[int],
    ) -> None:
        self._vocabulary = vocabulary
        self._template_text = template
        self._special = special
        self.stop_ids = stop_ids
        self._guides: dict[int, LLTokenizer] = {}
        added = vocabulary.get_added_tokens_decoder()
        self._added = frozenset(added)
        self.special_ids = frozenset(token for token, each in added.items() if each.special)
        """Tokens that `decode` leaves out."""
        self._special_text = SpecialText([t.content for t in added.values() if t.special])
        self.piece = functools.lru_cache(maxsize=65536)(self._piece)
        """What a token alone reads as; broken bytes show as U+FFFD."""

    @property
    def chat_template(self) -> str:
        """The template's text; empty where there is none."""
        return self._template_text or ""

    def render(
        self,
        messages: tuple[ChatMessage, ...],
        tools: tuple[str, ...] = (),
        options: str = "{}",
        *,
        is_open: bool = True,
    ) -> str:
        """Return a conversation as the text of a prompt; see `ChatTemplate.render`.

        What looks like a special token within a message is put between marks, so that `encode`
        reads it as the text it is; `shown` takes the marks out.

        Raises:
            RequestError: there is no template, or it refuses the conversation.
        """
        if self._template is None:
            raise RequestError("this model has no chat template", "use a raw prompt (--raw)")
        return self._template.render(
            messages, tools, options, is_open=is_open, quoted=self._special_text.quoted
        )

    def shown(self, text: str) -> str:
        """Return a rendered text as a person reads it."""
        return self._special_text.shown(text)

    def encode(self, text: str, *, is_rendered: bool) -> list[int]:
        """Return token ids; special tokens in the text count as such.

        Args:
            text: lone surrogates are read as U+FFFD.
            is_rendered: by the chat template, which brings its own first token along.
        """
        return self.encode_with_ends(text, is_rendered=is_rendered)[0]

    def encode_with_ends(self, text: str, *, is_rendered: bool) -> tuple[list[int], list[int]]:
        """Return token ids, and for each how many characters of the text there are up to its end."""
        clean = text.encode("utf-8", "replace").decode("utf-8")
        ids: list[int] = []
        ends: list[int] = []
        for begin, part, is_text in self._special_text.parts(clean):
            self._vocabulary.encode_special_tokens = is_text
            first = not is_rendered and not begin
            encoding = self._vocabulary.encode(part, add_special_tokens=first)
            ids += encoding.ids
            ends += [begin + end for _, end in encoding.offsets]
        self._vocabulary.encode_special_tokens = False
        return ids, ends

    def is_special(self, token: int) -> bool:
        """Return whether a token never merges with its neighbours."""
        return token in self._added

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without special tokens."""
        return self._vocabulary.decode(list(ids), skip_special_tokens=True)

    def decode_all(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens too."""
        return self._vocabulary.decode(list(ids), skip_special_tokens=False)

    def guide(self, vocabulary: int) -> LLTokenizer:
        """Return the vocabulary as grammars are matched with; made once, then kept.

        Args:
            vocabulary: width of the model's logits.

        Raises:
            RequestError: it can't be used for that.
        """
        if not self.stop_ids:
            raise RequestError("this model has no stop token, so a grammar could never end")
        if vocabulary not in self._guides:
            from llguidance import LLTokenizer

            text, stops = self._vocabulary.to_str(), sorted(self.stop_ids)
            size = max(vocabulary, self._vocabulary.get_vocab_size())
            try:
                self._guides[vocabulary] = LLTokenizer(text, n_vocab=size, eos_token=stops)
            except Exception as error:  # llguidance raises whatever its reader ran into
                reason = " ".join(str(error).split())[:200]
                raise RequestError(f"no grammar for this model's tokenizer: {reason}") from error
        return self._guides[vocabulary]

    @functools.cached_property
    def _template(self) -> ChatTemplate | None:
        text = self._template_text
        return None if text is None else ChatTemplate(text, self._special)

    @functools.cached_property
    def _anchor(self) -> tuple[int, str]:
        """A plain token to decode others behind, since a first token may lose its space."""
        token = self._vocabulary.encode("a", add_special_tokens=False).ids[-1]
        return token, self._vocabulary.decode([token], skip_special_tokens=False)

    def _piece(self, token: int) -> str:
        anchor, text = self._anchor
        both = self._vocabulary.decode([anchor, token], skip_special_tokens=False)
        return both[len(text) :]


def from_folder(folder: Path, config: dict[str, object]) -> Tokenizer:
    """Return the tokenizer of a checkpoint folder.

    Raises:
        ModelFileError: there is none that can be read without running foreign code.
    """
    settings = read_json(folder / "tokenizer_config.json")
    vocabulary = _vocabulary(folder)
    special = {
        name: text
        for name in ("bos_token", "eos_token", "pad_token", "unk_token")
        if (text := _token_text(settings.get(name))) is not None
    }
    generation = read_json(folder / "generation_config.json")
    eos = vocabulary.token_to_id(special.get("eos_token", ""))
    named = [eos, *_ids(config.get("eos_token_id")), *_ids(generation.get("eos_token_id"))]
    stop_ids = frozenset(token for token in named if token is not None)
    template = _template_text(folder, settings)
    return Tokenizer(vocabulary, template, special, stop_ids)


def _vocabulary(folder: Path) -> Vocabulary:
    path = folder / "tokenizer.json"
    try:
        if path.exists():
            return Vocabulary.from_file(str(path))
        return _converted(folder)
    except Exception as error:  # tokenizers and transformers raise bare Exception
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(f"no usable tokenizer in {folder}: {reason}") from error


def _converted(folder: Path) -> Vocabulary:
    """Let transformers convert an older tokenizer's files; it takes seconds to import."""
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    vocabulary = getattr(loaded, "backend_tokenizer", None)
    if not isinstance(vocabulary, Vocabulary):
        raise ModelFileError("transformers can't convert it to a fast tokenizer")
    return vocabulary


def _template_text(folder: Path, settings: dict[str, object]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text("utf-8")
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def read_json(path: Path) -> dict[str, object]:
    """Return the object in a JSON file; empty where there is no file.

    Raises:
        ModelFileError: the file is there but can't be read.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path} can't be read: {error}") from error
    return content if isinstance(content, dict) else {}


def _token_text(token: object) -> str | None:
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _ids(value: object) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, int) and not isinstance(item, bool)]
