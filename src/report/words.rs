//! Every text of the page, in Dutch and in English side by side.
//!
//! `{}` stands for what is filled in, in order. May depend on the standard library only.

macro_rules! words {
    ($($name:ident: $dutch:literal, $english:literal;)*) => {
        /// The texts of one language.
        pub(super) struct Words { $(pub(super) $name: &'static str,)* }
        pub(super) const DUTCH: Words = Words { $($name: $dutch,)* };
        pub(super) const ENGLISH: Words = Words { $($name: $english,)* };
        /// Each text's name, Dutch and English.
        #[cfg(test)]
        pub(super) const PAIRS: &[(&str, &str, &str)] =
            &[$((stringify!($name), $dutch, $english),)*];
    };
}

/// `template` with `values` for its `{}`, in order.
pub(super) fn fill(template: &str, values: &[&str]) -> String {
    let mut values = values.iter();
    let mut parts = template.split("{}");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(values.next().unwrap_or(&""));
        text.push_str(part);
    }
    text
}

words! {
    months: "januari februari maart april mei juni juli augustus september oktober november december",
        "January February March April May June July August September October November December";
    months_short: "jan feb mrt apr mei jun jul aug sep okt nov dec",
        "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    weekdays: "ma di wo do vr za zo", "Mon Tue Wed Thu Fri Sat Sun";
    hour_sign: "u", "h";
    day_sign: "d", "d";
    and: "en", "and";

    report: "Webcare-rapport", "Webcare report";
    made: "Gemaakt op {}", "Made on {}";
    zone: "Dagen en uren in {}", "Days and hours in {}";
    private: "Deze pagina toont de tekst van berichten: bewaar haar waar die bewaard mogen worden.",
        "This page shows the text of messages: keep it where they may be kept.";

    lead_none: "In {} kwamen geen berichten binnen.", "No messages came in during {}.";
    lead: "In {} kwamen {} berichten binnen; in {} daarvan stond een klacht.",
        "In {}, {} messages came in; {} of them held a complaint.";
    lead_crises: "Deze dagen lijken op een crisis: {}.", "These days look like a crisis: {}.";
    lead_calm: "Geen dag leek op een crisis.", "No day looked like a crisis.";
    lead_alone: "Er is geen maand om mee te vergelijken.", "There is no month to compare with.";

    headline: "In het kort", "At a glance";
    messages: "Berichten", "Messages";
    questions: "Vragen", "Questions";
    complaints: "Klachten", "Complaints";
    compliments: "Complimenten", "Compliments";
    factual_errors: "Feitelijke onjuistheden", "Factual errors";
    urgent: "Dringend", "Urgent";
    needs_review: "Na te kijken", "Needs review";
    negative: "Negatief", "Negative";
    neutral: "Neutraal", "Neutral";
    positive: "Positief", "Positive";
    answered: "Beantwoord", "Answered";
    response: "Mediane reactietijd", "Median response time";
    response_90: "Reactietijd, 90% binnen", "Response time, 90% within";
    net: "Nettosentiment", "Net sentiment";
    of_messages: "{} van de berichten", "{} of messages";
    of_answerable: "{} van {} vragen en klachten", "{} of {} questions and complaints";
    answers_unknown: "Antwoorden zijn niet bekend", "Answers are not known";
    half_within: "De helft kreeg binnen deze tijd antwoord", "Half were answered within this time";
    interval: "95%-interval {} tot {}", "95% interval {} to {}";
    per_day: "{} per dag", "{} a day";
    points: "procentpunt", "percentage points";
    against: "t.o.v. {}", "against {}";
    same: "Gelijk", "No change";
    was: "was {}", "was {}";
    significant: "significant", "significant";
    not_significant: "niet significant", "not significant";

    overview: "Alle cijfers", "All figures";
    measure: "Maat", "Measure";
    counted: "Geteld", "Counted";
    of_all: "Aandeel", "Share";
    adjusted: "Gecorrigeerd", "Adjusted";
    overview_caption: "{} naast {}", "{} beside {}";
    overview_note: "Gecorrigeerd is een schatting van het ware aantal; zie de verantwoording. Een bericht kan meer dan één soort hebben.",
        "Adjusted is an estimate of the true number; see the method. A message may be of more than one kind.";

    by_day: "Per dag", "By day";
    figures: "Cijfers in een tabel", "Figures in a table";
    sentiment_by_day: "Berichten per dag, naar sentiment", "Messages by day, by sentiment";
    intents_by_day: "Klachten, vragen en complimenten per dag",
        "Complaints, questions and compliments by day";
    day_chart: "Kolommen voor elke dag van {}. Meeste berichten: {} op {}.",
        "Columns for each day of {}. Most messages: {} on {}.";
    line_chart: "Lijnen over de dagen van {}. Meeste klachten: {} op {}.",
        "Lines over the days of {}. Most complaints: {} on {}.";
    weekend: "Weekend", "Weekend";
    crisis_mark: "Lijkt op een crisis: {}", "Looks like a crisis: {}";
    day: "Dag", "Day";
    crisis: "crisis?", "crisis?";
    expected_complaints: "Verwachte klachten", "Expected complaints";
    no_messages: "Geen berichten in deze periode.", "No messages in this period.";

    by_month: "Per maand", "By month";
    month_chart: "Berichten per maand, naar soort", "Messages by month, by kind";
    month_chart_text: "Lijnen van {} tot en met {}. Klachten in de laatste maand: {}.",
        "Lines from {} to {}. Complaints in the last month: {}.";
    month: "Maand", "Month";

    sentiment: "Sentiment", "Sentiment";
    net_chart: "Nettosentiment per maand, met 95%-interval",
        "Net sentiment by month, with 95% interval";
    net_chart_text: "Lijn van {} tot en met {}. In de laatste maand {}, tussen {} en {}.",
        "Line from {} to {}. In the last month {}, between {} and {}.";
    sentiment_share: "Verdeling van het sentiment", "Shares of sentiment";
    net_note: "Nettosentiment is positieve min negatieve berichten, gedeeld door alle berichten: van −1 (alles negatief) tot +1 (alles positief).",
        "Net sentiment is positive minus negative messages, divided by all messages: from −1 (all negative) to +1 (all positive).";
    net_short: "Netto", "Net";
    low: "Ondergrens", "Lower end";
    high: "Bovengrens", "Upper end";

    by_channel: "Kanalen", "Channels";
    channel: "Kanaal", "Channel";
    channel_chart: "Berichten per kanaal, naar sentiment", "Messages by channel, by sentiment";
    by_brand: "Merken", "Brands";
    brand: "Merk", "Brand";
    brand_chart: "Berichten per merk, naar sentiment", "Messages by brand, by sentiment";
    part_chart: "Balken, één per naam. De langste: {}, {} berichten.",
        "Bars, one for each name. The longest: {}, {} messages.";
    largest: "De figuur toont de {} grootste; de tabel toont alle {}.",
        "The chart shows the {} largest; the table shows all {}.";
    unnamed: "(zonder naam)", "(no name)";
    adjusted_key: "≈ is de gecorrigeerde schatting.", "≈ is the adjusted estimate.";
    complaint_share: "Klachten, aandeel", "Complaints, share";

    response_times: "Reactietijd per kanaal", "Response time by channel";
    response_chart: "Mediaan en 90%-grens per kanaal, in {}",
        "Median and 90% limit by channel, in {}";
    response_chart_text: "Twee balken per kanaal. De langste mediaan: {}, {}.",
        "Two bars for each channel. The longest median: {}, {}.";
    median: "Mediaan", "Median";
    ninety: "90% binnen", "90% within";
    minutes: "minuten", "minutes";
    hours: "uren", "hours";
    days_unit: "dagen", "days";
    no_responses: "Er zijn geen reactietijden bekend.", "No response times are known.";

    words: "Opkomende woorden in klachten", "Rising words in complaints";
    words_text: "Woorden die in klachten vaker staan dan op grond van de drie maanden ervoor te verwachten was, het opvallendste eerst. Hoe hoger de score, hoe opvallender.",
        "Words that complaints have more often than was to be expected from the three months before, the most striking first. The higher the score, the more striking.";
    words_caption: "Klachten met het woord", "Complaints with the word";
    month_before: "de maand ervoor", "the month before";
    word: "Woord", "Word";
    now: "Deze maand", "This month";
    before_words: "3 maanden ervoor", "3 months before";
    expected: "Verwacht", "Expected";
    score: "Score", "Score";
    no_texts: "De teksten van de berichten zijn niet meegegeven.",
        "The texts of the messages were not given.";
    no_words: "Geen woord steeg opvallend.", "No word rose strikingly.";

    crises: "Dagen die op een crisis lijken", "Days that look like a crisis";
    crises_text: "Uren met veel meer klachten dan zulke uren anders hebben.",
        "Hours with far more complaints than such hours have otherwise.";
    crises_caption: "Klachten in die uren, en wat zulke uren anders hebben",
        "Complaints in those hours, and what such hours have otherwise";
    hours_of_day: "Uren", "Hours";
    seen: "Klachten", "Complaints";
    times: "Keer verwacht", "Times expected";
    no_crises: "Geen dag in deze maand leek op een crisis.",
        "No day of this month looked like a crisis.";
    no_history: "Er is te weinig geschiedenis om een crisis te herkennen.",
        "There is too little history to tell a crisis.";

    samples: "Voorbeelden van berichten", "Sample messages";
    no_samples: "Er zijn geen voorbeelden.", "There are no samples.";
    question: "Vraag", "Question";
    complaint: "Klacht", "Complaint";
    compliment: "Compliment", "Compliment";
    factual_error: "Feitelijke onjuistheid", "Factual error";

    method: "Verantwoording", "Method";
    method_counts: "Geteld zijn de berichten van de maand, naar dag en uur in {}. Een bericht kan meer dan één soort hebben (vraag, klacht, compliment, feitelijke onjuistheid) en heeft één sentiment.",
        "Counted are the messages of the month, by day and hour in {}. A message may be of more than one kind (question, complaint, compliment, factual error) and has one sentiment.";
    method_machine: "Een model heeft de berichten gelabeld, geen mens. Een label kan fout zijn; berichten waarover het model te onzeker was, staan als ‘na te kijken’ geteld.",
        "A model labelled the messages, not a person. A label can be wrong; messages of which the model was too unsure are counted as ‘needs review’.";
    method_adjusted: "Gecorrigeerde aantallen zijn schattingen: het EM-algoritme corrigeert de tellingen voor de bekende foutkans van het model (Saerens e.a., 2002).",
        "Adjusted counts are estimates: the EM algorithm corrects the counts for the known error rates of the model (Saerens et al., 2002).";
    method_net: "Nettosentiment is (positief − negatief) / berichten; het 95%-interval volgt Agresti en Min (2005).",
        "Net sentiment is (positive − negative) / messages; its 95% interval follows Agresti and Min (2005).";
    method_tests: "Een verschil met de vorige maand heet significant bij p < {}. Bij veel vergelijkingen is er af en toe een toevallig significant.",
        "A difference from the month before is called significant at p < {}. Among many comparisons some are significant by chance.";
    method_answers: "Beantwoord is het aandeel van de vragen en klachten dat antwoord kreeg; de reactietijd is die van wat beantwoord is.",
        "Answered is the share of questions and complaints that got an answer; the response time is of those that did.";
    method_crises: "Dagen die op een crisis lijken worden gezocht als uitbraken in het aantal klachten, naar Noufaily e.a. (2013).",
        "Days that look like a crisis are sought as outbreaks in the number of complaints, after Noufaily et al. (2013).";
    method_model: "Model {}, digest {}.", "Model {}, digest {}.";
}
