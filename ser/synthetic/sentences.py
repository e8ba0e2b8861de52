"""Simple sentences in nine languages whose content is independent of emotion.

A sentence is a subject, a predicate and an adverbial phrase. The phrases of every list are assigned to splits, so
that no phrase is spoken in two splits.
"""

import numpy as np

SPLITS = ("train", "dev", "ser_test_1", "ser_test_2")
_DEAL = ("train", "dev", "train", "ser_test_1", "train", "ser_test_2")  # split of every 1st .. 6th phrase

SUBJECTS = {
    "en": "the neighbour, my brother, the teacher, our cousin, the postman, a tall man, the baker, "
    "her uncle, the gardener, the new student, a young woman, the driver, your sister, "
    "the librarian, the old captain, the painter, my colleague, the woman next door",
    "de": "der Nachbar, mein Bruder, die Lehrerin, unser Vetter, der Briefträger, ein großer Mann, "
    "die Bäckerin, ihr Onkel, der Gärtner, die neue Schülerin, eine junge Frau, der Fahrer, "
    "deine Schwester, der Bibliothekar, der alte Kapitän, die Malerin, mein Kollege, die Frau von nebenan",
    "es": "el vecino, mi hermano, la profesora, nuestro primo, el cartero, un hombre alto, el panadero, "
    "su tío, el jardinero, la nueva alumna, una mujer joven, el conductor, tu hermana, la bibliotecaria, "
    "el viejo capitán, el pintor, mi colega, la señora de al lado",
    "fr": "le voisin, mon frère, la maîtresse, notre cousin, le facteur, un homme grand, la boulangère, "
    "son oncle, le jardinier, la nouvelle élève, une jeune femme, le chauffeur, ta sœur, le libraire, "
    "le vieux capitaine, la peintre, mon collègue, la dame d'à côté",
    "it": "il vicino, mio fratello, la maestra, nostro cugino, il postino, un uomo alto, il fornaio, "
    "suo zio, il giardiniere, la nuova allieva, una giovane donna, l'autista, tua sorella, la bibliotecaria, "
    "il vecchio capitano, il pittore, il mio collega, la signora accanto",
    "nl": "de buurman, mijn broer, de lerares, onze neef, de postbode, een lange man, de bakker, haar oom, "
    "de tuinman, de nieuwe leerling, een jonge vrouw, de chauffeur, jouw zus, de bibliothecaris, "
    "de oude kapitein, de schilder, mijn collega, de vrouw van hiernaast",
    "pt": "o vizinho, o meu irmão, a professora, o nosso primo, o carteiro, um homem alto, a padeira, "
    "o tio dela, o jardineiro, a nova aluna, uma mulher jovem, o condutor, a tua irmã, o bibliotecário, "
    "o velho capitão, a pintora, o meu colega, a senhora do lado",
    # In the ergative, the verb agrees with its object, so that every predicate fits every subject.
    "hi": "पड़ोसी ने, मेरे भाई ने, अध्यापिका ने, हमारे चचेरे भाई ने, डाकिये ने, एक लंबे आदमी ने, नानबाई ने, "
    "उसके चाचा ने, माली ने, नई छात्रा ने, एक युवती ने, गाड़ी के चालक ने, तुम्हारी बहन ने, पुस्तकालय के बाबू ने, "
    "बूढ़े कप्तान ने, चित्रकार ने, मेरे सहकर्मी ने, बगल वाली महिला ने",
    "cmn": "我们的邻居, 我哥哥, 那位老师, 我们的表弟, 邮递员, 一个高个子男人, 面包师傅, 她的叔叔, 那个园丁, "
    "新来的学生, 一位年轻女子, 公交车司机, 你的妹妹, 图书管理员, 那位老船长, 那个画家, 我的同事, 隔壁的女人",
}
PREDICATES = {
    "en": "puts the cup on the table, opens the window, walks to the station, reads the second page, "
    "carries the boxes upstairs, looks for the keys, buys bread and milk, waits for the bus, "
    "writes a short letter, closes the garden door, counts the chairs, calls the office, "
    "takes the blue coat, washes the dishes, folds the newspaper, draws a straight line, "
    "moves the lamp to the corner, drinks a glass of water",
    "de": "stellt die Tasse auf den Tisch, öffnet das Fenster, geht zum Bahnhof, liest die zweite Seite, "
    "trägt die Kisten nach oben, sucht die Schlüssel, kauft Brot und Milch, wartet auf den Bus, "
    "schreibt einen kurzen Brief, schließt die Gartentür, zählt die Stühle, ruft im Büro an, "
    "nimmt den blauen Mantel, spült das Geschirr, faltet die Zeitung, zeichnet eine gerade Linie, "
    "rückt die Lampe in die Ecke, trinkt ein Glas Wasser",
    "es": "pone la taza en la mesa, abre la ventana, camina hasta la estación, lee la segunda página, "
    "sube las cajas, busca las llaves, compra pan y leche, espera el autobús, escribe una carta corta, "
    "cierra la puerta del jardín, cuenta las sillas, llama a la oficina, coge el abrigo azul, "
    "lava los platos, dobla el periódico, dibuja una línea recta, lleva la lámpara al rincón, "
    "bebe un vaso de agua",
    "fr": "pose la tasse sur la table, ouvre la fenêtre, marche vers la gare, lit la deuxième page, "
    "monte les cartons, cherche les clés, achète du pain et du lait, attend le bus, écrit une courte lettre, "
    "ferme la porte du jardin, compte les chaises, appelle le bureau, prend le manteau bleu, "
    "lave la vaisselle, plie le journal, trace une ligne droite, met la lampe dans le coin, "
    "boit un verre d'eau",
    "it": "mette la tazza sul tavolo, apre la finestra, cammina verso la stazione, legge la seconda pagina, "
    "porta su le scatole, cerca le chiavi, compra pane e latte, aspetta l'autobus, scrive una breve lettera, "
    "chiude la porta del giardino, conta le sedie, chiama l'ufficio, prende il cappotto blu, lava i piatti, "
    "piega il giornale, traccia una linea dritta, sposta la lampada nell'angolo, beve un bicchiere d'acqua",
    "nl": "zet de kop op de tafel, opent het raam, loopt naar het station, leest de tweede bladzijde, "
    "draagt de dozen naar boven, zoekt de sleutels, koopt brood en melk, wacht op de bus, "
    "schrijft een korte brief, sluit de tuindeur, telt de stoelen, belt het kantoor, neemt de blauwe jas, "
    "wast de borden af, vouwt de krant op, tekent een rechte lijn, zet de lamp in de hoek, "
    "drinkt een glas water",
    "pt": "põe a chávena na mesa, abre a janela, caminha até à estação, lê a segunda página, "
    "leva as caixas para cima, procura as chaves, compra pão e leite, espera pelo autocarro, "
    "escreve uma carta curta, fecha a porta do jardim, conta as cadeiras, telefona para o escritório, "
    "veste o casaco azul, lava a loiça, dobra o jornal, desenha uma linha reta, põe o candeeiro no canto, "
    "bebe um copo de água",
    "hi": "मेज़ पर प्याला रखा, खिड़की खोली, स्टेशन का रास्ता पूछा, दूसरा पन्ना पढ़ा, बक्से ऊपर पहुँचाए, "
    "चाबियाँ ढूँढीं, रोटी और दूध ख़रीदा, बस का इंतज़ार किया, एक छोटा पत्र लिखा, बगीचे का दरवाज़ा बंद किया, "
    "कुर्सियाँ गिनीं, दफ़्तर में फ़ोन किया, नीला कोट लिया, बर्तन धोए, अख़बार तह किया, एक सीधी रेखा खींची, "
    "लैंप को कोने में रखा, एक गिलास पानी पिया",
    "cmn": "把杯子放在桌子上, 打开窗户, 走到火车站去, 读第二页, 把箱子搬到楼上, 到处找钥匙, 买面包和牛奶, "
    "等公共汽车, 写一封简短的信, 关上花园的门, 数一数椅子, 给办公室打电话, 拿起蓝色的大衣, 洗碗和盘子, "
    "把报纸折好, 画一条直线, 把台灯移到角落里, 喝一杯水",
}
ADVERBIALS = {
    "en": "in the morning, on Monday, before lunch, at half past seven, after work, next to the church, "
    "on the way home, in the small kitchen, at the end of the week, near the river, every other day, "
    "on the third of May",
    "de": "am Morgen, am Montag, vor dem Mittagessen, um halb acht, nach der Arbeit, neben der Kirche, "
    "auf dem Heimweg, in der kleinen Küche, am Ende der Woche, nahe am Fluss, jeden zweiten Tag, "
    "am dritten Mai",
    "es": "por la mañana, el lunes, antes de comer, a las siete y media, después del trabajo, "
    "al lado de la iglesia, de camino a casa, en la cocina pequeña, al final de la semana, cerca del río, "
    "cada dos días, el tres de mayo",
    "fr": "le matin, ce lundi, avant le déjeuner, à sept heures et demie, après le travail, "
    "à côté de l'église, sur le chemin du retour, dans la petite cuisine, à la fin de la semaine, "
    "près de la rivière, un jour sur deux, le trois mai",
    "it": "di mattina, questo lunedì, prima di pranzo, alle sette e mezza, dopo il lavoro, "
    "accanto alla chiesa, sulla via di casa, nella piccola cucina, alla fine della settimana, "
    "vicino al fiume, ogni due giorni, il tre maggio",
    "nl": "in de ochtend, op maandag, voor de lunch, om half acht, na het werk, naast de kerk, "
    "op weg naar huis, in de kleine keuken, aan het eind van de week, dicht bij de rivier, om de dag, "
    "op drie mei",
    "pt": "de manhã, na segunda-feira, antes do almoço, às sete e meia, depois do trabalho, ao lado da igreja, "
    "a caminho de casa, na cozinha pequena, no fim da semana, perto do rio, dia sim dia não, no dia três de maio",
    "hi": "सुबह के समय, सोमवार को, दोपहर के खाने से पहले, साढ़े सात बजे, काम के बाद, गिरजाघर के बगल में, "
    "घर लौटते हुए, छोटी रसोई में, हफ़्ते के अंत में, नदी के पास, हर दूसरे दिन, तीन मई को",
    "cmn": "在早上, 在星期一, 在午饭以前, 在七点半, 在下班以后, 在教堂旁边, 在回家的路上, 在小厨房里, "
    "在这个周末, 在河边, 每隔一天, 在五月三号",
}
LANGUAGES = ("en", "de", "es", "fr", "it", "nl")
"""Languages of the emotion demonstration; Portuguese, Hindi and Mandarin are for language identification only."""


def phrases_of(table: dict[str, str], language: str, split: str) -> list[str]:
    """Return the phrases of a table that belong to a split."""
    phrases = table[language].split(", ")
    return [phrase for index, phrase in enumerate(phrases) if _DEAL[index % len(_DEAL)] == split]


def sentence(language: str, split: str, rng: np.random.Generator) -> list[str]:
    """Draw a sentence of the split as two phrases, such as ["the baker opens the window", "on Monday"]."""
    choices = [phrases_of(table, language, split) for table in (SUBJECTS, PREDICATES, ADVERBIALS)]
    subject, predicate, adverbial = (phrases[rng.integers(len(phrases))] for phrases in choices)
    return [f"{subject} {predicate}", adverbial]


def text(
    language: str, split: str, num_characters: float, *, pause: float, rng: np.random.Generator
) -> list[str]:
    """Draw phrases of as many sentences as needed, and cut them at the word nearest to a length.

    Args:
        language: Key of the tables above.
        split: Split, of `SPLITS`.
        num_characters: Number of letters, spaces and pauses; at least two words are returned.
        pause: Number of characters for a pause between two phrases.
        rng: Random generator.
    """
    phrases: list[str] = []
    missing = num_characters
    while missing > 0:
        for phrase in sentence(language, split, rng):
            phrases += filter(None, [_shorten(phrase, missing, fewest=0 if phrases else 2)])
            missing -= len(phrase) + pause
    return phrases


def _shorten(phrase: str, num_characters: float, *, fewest: int) -> str:
    """Return the first words of a phrase, of the length nearest to a number of characters; `fewest` words at least."""
    words = phrase.split()
    candidates = [" ".join(words[:count]) for count in range(fewest, len(words) + 1)]
    return min(candidates, key=lambda candidate: abs(len(candidate) - num_characters))
