"""Whether a query is in a language that its model does not know, said in a sentence.

The models at hand were trained on English alone: they take any text, and answer other languages with noise. Letters of
another script are certain. Among languages in Latin letters a query counts as foreign where two of its words are common
words of one such language that English does not have, and none is a common English one. Words that begin with a capital
do not count, since names keep their language. So short queries of rare words pass unseen: a sentence that is wrong
about somebody's name would be worse than one that is missing (`benchmarks/language.py` measures both).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from reelseek.index.query import Query

_ENGLISH = "the of with and is are from his her their this that while into onto by"
ENGLISH = frozenset(_ENGLISH.split())
"""A query with one of these is English, whatever else it holds."""

WORDS: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "German": """
            der das ein eine einen einem einer und mit im auf ist sind nicht zwei von vom zum zur bei beim über unter
            durch einige viele frau kinder mädchen junge hund katze pferd vogel baum haus straße wald meer schnee
            läuft rennt spielt sitzt steht fährt geht springt tanzt singt kocht schwimmt isst trinkt spricht lacht
            schwarzer schwarze kleine kleiner große großer roter rotes rote grünes grüne blaues blaue weißer weiße""",
        "French": """
            le la les un une des du et dans sur avec est sont qui sous deux aux au homme femme enfant enfants fille
            garçon chien oiseau cheval arbre maison rue forêt mer neige voiture plage fleur joue marche mange boit
            saute danse chante nage parle conduit dort noir noire blanc blanche rouge vert verte bleu bleue petit petite
            grande vélo ville cuisine""",
        "Spanish": """
            el la los las un una unos unas y en con del es por para dos sobre hombre mujer niño niña niños perro gato
            pájaro caballo árbol calle bosque nieve coche flor flores corre juega camina bebe salta
            baila canta nada habla conduce duerme negro negra blanco rojo roja verde azul pequeño pequeña
            ciudad cocina corriendo jugando caminando comiendo bailando hablando cantando nadando gente""",
        "Italian": """
            il lo la gli un una uno e di del della nel nella sul sulla con per che sono due uomo donna bambino bambina
            bambini ragazza ragazzo cane gatto uccello cavallo albero strada bosco neve macchina spiaggia fiore
            corre gioca cammina mangia beve salta balla canta nuota parla guida dorme nero nera bianco bianca rosso
            rossa verde blu piccolo piccola città cucina""",
        "Portuguese": """
            um uma uns umas e o os em na nas nos com da dos das é são por para dois duas homem mulher menino
            menina criança crianças cão cachorro gato pássaro cavalo árvore rua floresta neve carro praia flor
            corre joga caminha bebe pula dança canta nada fala dirige dorme preto preta branco branca vermelho
            vermelha verde azul pequeno pequena cidade cozinha correndo jogando""",
        "Dutch": """
            de het een en op aan voor naar bij zijn niet twee onder vrouw kind kinderen meisje jongen hond
            kat paard vogel boom huis straat bos zee sneeuw strand bloem loopt rent speelt zit staat rijdt springt danst
            zingt kookt zwemt eet drinkt praat lacht zwarte witte groene blauwe kleine grote fiets""",
        "Swedish": """
            en ett och med på av för från är inte två som vid över kvinna flicka pojke hund katt häst
            fågel träd hus gata skog hav snö bil strand blomma springer leker går sitter står kör hoppar dansar sjunger
            lagar simmar äter dricker pratar svart vit röd grön blå liten stor cykel""",
        "Polish": """
            na w z jest są nie dwa dwie pod nad przez mężczyzna kobieta dziecko dzieci dziewczyna chłopiec pies kot
            koń ptak drzewo dom ulica las morze śnieg samochód plaża kwiat biegnie biega gra idzie siedzi stoi jedzie
            skacze tańczy śpiewa gotuje pływa je pije mówi czarny biały czerwony zielony niebieski mały duży rower""",
        "Turkish": """
            bir ve ile için iki üzerinde altında içinde olan adam kadın çocuk kız köpek kedi kuş ağaç ev sokak orman
            deniz kar araba plaj çiçek koşuyor oynuyor yürüyor oturuyor duruyor sürüyor atlıyor dans şarkı söylüyor
            yemek yüzüyor yiyor içiyor konuşuyor siyah beyaz kırmızı yeşil mavi küçük büyük""",
    }.items()
}

SCRIPTS = {
    "CYRILLIC": "Cyrillic", "GREEK": "Greek", "ARABIC": "Arabic", "HEBREW": "Hebrew", "CJK": "Chinese",
    "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean", "DEVANAGARI": "Devanagari", "THAI": "Thai",
    "BENGALI": "Bengali", "TAMIL": "Tamil", "TELUGU": "Telugu", "ARMENIAN": "Armenian", "GEORGIAN": "Georgian",
}  # fmt: skip


def note_for(query: str, method: Any, *, spoken: bool = False) -> str:
    """A sentence where the query is in a language that the method's text tower does not know; "" where it may be.

    spoken: whether its words are looked up in subtitles too, which may be in any language. method: its backbone's name
    says whether it was trained on English alone. Nothing is said of a model not known here.
    """
    if not knows_english_alone(method):
        return ""
    language = language_of(query)
    if not language:
        return ""
    known = f"The query looks {language}, and this model knows English alone"
    if spoken:
        return f"{known}: subtitles are searched for its words, but to find what pictures show, ask in English."
    return f"{known}: expect noise, and ask in English."


def note_of(query: Query, method: Any, *, spoken: bool = False) -> str:
    """`note_for` the first of a query's texts that gives one. spoken: whether subtitles are searched for its text."""
    texts = [part for part in query.parts() if part.role != "picture"]
    notes = (note_for(part.what, method, spoken=spoken and part.role == "text") for part in texts)
    return next(filter(None, notes), "")


def knows_english_alone(method: Any) -> bool:
    """Whether a method's text tower was trained on English: the offline one, CLIP and SigLIP without another name."""
    name = str(getattr(getattr(method, "backbone", None), "name", "")).casefold()
    if any(word in name for word in ("multilingual", "xlm", "i18n", "siglip2", "m-clip", "mclip", "laion5b")):
        return False
    return name == "offline" or "clip" in name or "siglip" in name


def language_of(query: str) -> str:
    """A language other than English, or a script, that most of a query is in; "" where that is not sure."""
    letters = [letter for letter in unicodedata.normalize("NFC", query) if letter.isalpha()]
    scripts = [unicodedata.name(letter, "UNKNOWN").split()[0].split("-")[0] for letter in letters]
    others = [script for script in scripts if script not in ("LATIN", "FULLWIDTH", "FEMININE", "MASCULINE", "MICRO")]
    if len(others) * 2 > len(letters):
        found = [SCRIPTS[script] for script in others if script in SCRIPTS]
        return max(found, key=found.count) if found else "foreign"
    words = set(re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", query)))
    if words & ENGLISH:
        return ""
    counts = {language: len(words & known) for language, known in WORDS.items()}
    best = max(counts, key=lambda language: counts[language])
    return best if counts[best] >= 2 else ""
